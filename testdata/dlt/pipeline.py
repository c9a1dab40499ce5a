"""Loads the plugin's companion endpoints into DuckDB, as a data team would.

usage: pipeline.py ADMIN_API_URL DIRECTORY
Prints the number of rows of each table as JSON.
"""

import json
import os
import sys

admin, directory = sys.argv[1], sys.argv[2]
os.environ["DLT_DATA_DIR"] = directory
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402

source = rest_api_source(
    {
        "client": {"base_url": admin + "/"},
        "resources": [
            {
                "name": "jwks",
                "primary_key": "kid",
                "endpoint": {"path": "openid-connect/jwks", "data_selector": "keys", "paginator": "single_page"},
            },
            {
                "name": "discovery_cache",
                "primary_key": "id",
                "endpoint": {"path": "openid-connect/discovery-cache", "data_selector": "data", "paginator": "single_page"},
            },
        ],
    }
)
pipeline = dlt.pipeline(
    pipeline_name="openid_connect",
    pipelines_dir=directory,
    destination=dlt.destinations.duckdb(os.path.join(directory, "openid_connect.duckdb")),
    dataset_name="companion",
)
pipeline.run(source)
counts = {}
with pipeline.sql_client() as client:
    for table in ("jwks", "discovery_cache"):
        with client.execute_query(f"SELECT count(*) FROM {table}") as cursor:
            counts[table] = cursor.fetchone()[0]
print(json.dumps(counts))
