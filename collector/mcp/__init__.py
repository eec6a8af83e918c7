"""Questions of language models over the Model Context Protocol. Like `web`, it only reads.

server      the protocol: which tools there are, calls, errors; the only module that imports the SDK tools       the
tools: their arguments, the report behind each, and what its answer does not say evidence    the tool that shows why a
transition is believed, or what was seen answers     keeps answers small
"""
