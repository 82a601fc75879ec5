"""What each command of the batch door does; imported only when its command is called."""
