"""Every number that the documents claim, and long trials that the tests have no time for, each as one command.

What must pass in CI is a test. RESULTS.md says what was measured, with which command, and on which machine.
"""
