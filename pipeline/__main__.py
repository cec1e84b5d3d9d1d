"""`python -m pipeline`: what run_pipeline.sh hands over to."""

import sys

if __name__ == "__main__":
    from pipeline.cli import main
    from transforms.beam_faults import leave

    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        code = 141
    leave(code)
