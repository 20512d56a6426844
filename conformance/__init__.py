"""A harness that checks programs, in any language, against the text of a protocol.

The modules in the order in which a case passes through them, which is the order to read them in:

    text, mistakes, arguments, model    types and functions that all others share
    kit         finds the suite and the programs that are installed with the package
    read/       YAML and the protocol text -> scenarios, implementations, a suite
    plan        scenarios x implementations -> cases
    builds/     runs the build commands of implementations, and caches what they make
    play/       cases -> outcomes
    judge       outcomes -> results
    report/     results -> reports for people and for machines
    session/    one run from start to end
    cli/        the command `conformance`, which starts sessions
    pytest_plugin/  starts them from pytest, with the same options
    guide/      commands that help a person: new, doctor, explain, play, compare

`read`, `play` and `report` never import each other. The `__init__` of each package says what it
contains.
"""

__version__ = "0.1.0"
