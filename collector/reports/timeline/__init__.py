"""A picture of states over time: lanes of regions or keystones, in SVG or in the characters of a terminal.

    views of spans ─▶ lanes (what is known, span by span) ─▶ pieces (what a picture of this width can show)
                                                              │
                                     palette, axis ───────────┴─▶ svg, text

Everything except `lanes` is pure: no SQL, no clock.
"""
