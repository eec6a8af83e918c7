"""The words that the API's documentation lists for a field. Others are recorded as they come, and as drift."""

from __future__ import annotations

from typing import Literal

RegionState = Literal["ACTIVE", "DELETED", "DELETING", "DELETION_FAILED", "INACTIVE", "MAINTENANCE", "NEW"]
RegionAccessType = Literal["core", "edge"]
RegionEndpointType = Literal["admin", "internal", "public"]
Zone = Literal["AMERICAS", "APAC", "EMEA", "RUSSIA_AND_CIS"]
KeystoneState = Literal["DELETED", "INITIALIZATION_FAILED", "INITIALIZED", "NEW"]
EndpointService = Literal[
    "ai_service",
    "caas",
    "caas_for_inference",
    "dbaas",
    "faas",
    "inference_at_the_edge",
    "inference_box",
    "laas",
    "mkaas",
    "registry",
]
