"""The app as strangers meet it: attacks over HTTP, and a page that shows what they wrote."""
