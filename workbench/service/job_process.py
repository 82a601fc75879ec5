"""The process of one job: `python -m workbench.service.job_process FOLDER`."""

import sys

from workbench.startup import collect_rarely

if __name__ == "__main__":
    collect_rarely()

    from workbench.service.worker import main

    sys.exit(main(sys.argv[1:]))
