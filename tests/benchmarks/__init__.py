"""What the collector costs, beside others that do a part of its work: `python -m tests.benchmarks`.

    cloud (a process)  ◀── HTTP ──  workers (a process for each contestant)  ◀── turns ──  rounds  ─▶  results
                                                                                                       │
                                                     goals ─▶ tables, plots, docs/performance.md ◀─────┘

Nothing here is a test, and nothing else imports it. The figures that need no clock are in tests/store/test_costs.py.
"""
