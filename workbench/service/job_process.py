"""The process of one job: `python -m workbench.service.job_process FOLDER`."""

import sys

from workbench.startup import import_quickly

if __name__ == "__main__":
    sys.exit(import_quickly("workbench.service.worker").main(sys.argv[1:]))
