"""A harness that holds programs, in any language, to the text of a protocol.

The way of a case through the package, which is also the order in which to read it:

    text, mistakes, arguments, model    the nouns that all share
    read/       YAML and the protocol text in, scenarios and manifests out
    plan        scenarios x implementations -> cases
    build       implementations made ready to run, by commands, and kept in a cache
    play/       cases in, outcomes out
    judge       outcomes -> results
    report/     results in, what people and machines read out
    session     one run from end to end; its faces are cli (with playing, which may play again and
                again, by watch) and pytest_plugin, with the same options

`read`, `play` and `report` never import each other.
"""

__version__ = "0.1.0"
