"""A FastAPI application with nothing behind it, served as the service is: what HTTP and the framework cost alone.

python -m tests.benchmarks.requests.bare PORT
"""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.get("/jobs/{job_id}")
async def get_job(job_id: str) -> dict[str, str]:
    """The simplest answer that depends on the request."""
    return {"id": job_id}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False, server_header=False, log_level="warning")
