"""The rules of deploy/prometheus as an object of the Prometheus Operator: kustomize can't put a file into another.

python -m tests.support.prometheus_rule --write
"""

from __future__ import annotations

from tests.support.generated import write_if_asked
from tests.support.paths import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
FILE = ROOT / "deploy" / "kubernetes" / "monitoring" / "prometheus-rule.yaml"

HEAD = """\
# Made from deploy/prometheus/rules.yml by `python -m tests.support.prometheus_rule --write`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gcore-collector
  labels: {app.kubernetes.io/name: gcore-collector}
spec:
"""


def manifest() -> str:
    """The groups as they stand, two columns to the right."""
    text = RULES.read_text(encoding="utf-8")
    groups = text[text.index("groups:\n") :]
    return HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    write_if_asked(FILE, manifest, __doc__)
