"""`python -m pipeline`: what run_pipeline.sh hands over to."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
