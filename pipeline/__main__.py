"""`python -m pipeline`: what run_pipeline.sh hands over to."""

import logging
import sys

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.CRITICAL)  # Beam warns of what it could not import while it is imported
    from pipeline.cli import main

    sys.exit(main(sys.argv[1:]))
