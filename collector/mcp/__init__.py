"""Questions of language models over the Model Context Protocol. Like `web`, it only reads.

- `server`: the protocol: which tools there are, calls, errors. Only this module imports the SDK.
- `arguments`: what each tool can be asked with.
- `tools`: the report behind each tool, and what its answer does not say.
- `evidence`: the tool that shows why a transition is believed, or what was seen.
- `answers`: keeps answers small.
"""
