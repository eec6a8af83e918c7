"""Serves the documented example of the API on loopback; its region is NEW in two answers, then ACTIVE.

Independent on purpose: imports nothing of the collector, and knows only what is documented. Prints its URL.
"""

import http.server
import itertools

EXAMPLE = """{"count": 1, "results": [{"access_level": "core",
 "available_volume_types": ["standard", "ssd_hiiops", "cold"], "country": "LU",
 "created_on": "2019-12-31T23:59:59", "ddos_endpoint": {"client_ids": [1, 22, 333],
 "created_on": "2021-11-09T12:05:50", "id": 1, "region_id": 2, "service": "laas", "updated_at": "2022-12-10T13:06:41",
 "url": "https://example.com", "version": "v1.2.3"}, "ddos_endpoint_id": 3, "display_name": "Luxembourg 1",
 "endpoint_type": "public", "external_network_id": "c843c3e6-ef4d-4b92-8db2-e16ac05c5650", "has_ai": true,
 "has_ai_gpu": true, "has_baremetal": false, "has_basic_vm": false, "has_ddos": true, "has_k8s": true,
 "has_kvm": true, "has_sfs": false, "id": 1, "keystone": {"created_on": "2019-12-31 23:59:59", "id": 1,
 "keystone_federated_domain_id": "2b2798cc-eb87-475e-8eab-1e711e5dbe46", "password": "******", "state": "NEW",
 "url": "https://10.100.167.20:5000/v3", "username": "admin"}, "keystone_id": 1, "keystone_name": "ED-8",
 "metrics_database": {"host": "10.100.167.20", "id": 1, "password": "******", "port": 9097,
 "username": "metrics_username"}, "metrics_database_id": 1, "novnc_proxy_url": "http://example.com:6080/",
 "serial_proxy_url": "wss://example.com:6083/", "slug": "luxembourg-1", "spice_proxy_url": "http://example.com:6082/",
 "state": "THE STATE", "task_id": null, "vlan_physical_network": "br-ex", "zone": "EMEA"}]}"""
STATES = itertools.chain(["NEW", "NEW"], itertools.repeat("ACTIVE"))


class Example(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found, known = self.path == "/cloud/v1/ai/regions", self.headers["Authorization"] == "apikey example"
        self.send_response(200 if found and known else 401 if found else 404)
        self.end_headers()
        self.wfile.write(EXAMPLE.replace("THE STATE", next(STATES)).encode() if found and known else b"{}")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Example)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
