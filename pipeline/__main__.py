"""`python -m pipeline`: what run_pipeline.sh hands over to."""

import logging
import os
import sys

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.CRITICAL)  # Beam warns of what it could not import while it is imported
    from pipeline.cli import main

    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        code = 141
    os._exit(code)  # after a run that stopped, Beam's worker threads would go on to the end of their bundles
