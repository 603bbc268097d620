"""Runs in the kserve client's own environment: asks what it is told to, and prints what it got as JSON.

argv: the service's address, and a model's name with its rows as JSON, named and bare.
"""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def v2(address, model, bare):
    """Answers of V2, for inputs in both encodings."""
    rows = np.array(bare, dtype=np.float32)
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        found = {
            "live": await client.is_server_live(address),
            "ready": await client.is_server_ready(address),
            "model ready": await client.is_model_ready(address, model),
            "no such model": await client.is_model_ready(address, "nope"),
        }
        for into in (True, False):
            for out in (True, False):
                tensor = InferInput("x", list(rows.shape), "FP32")
                tensor.set_data_from_numpy(rows, binary_data=into)
                wanted = [RequestedOutput("output", {"binary_data": out})]
                request = InferRequest(model, [tensor], request_id="7", request_outputs=wanted)
                answer = await client.infer(address, request, model_name=model)
                found[f"infer {into} {out}"] = {
                    "id": answer.id,
                    "model": answer.model_name,
                    "output": answer.get_output_by_name("output").as_numpy().tolist(),
                }
        plain = InferInput("x", list(rows.shape), "INT64", rows.astype("int64").tolist())
        found["wrong type"] = await refused(client.infer(address, InferRequest(model, [plain]), model_name=model))
        return found


async def v1(address, model, named, bare):
    """Answers of V1, for named rows and for plain numbers."""
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        return {
            "model ready": await client.is_model_ready(address, model),
            "predict": await client.infer(address, {"instances": named}, model_name=model),
            "predict bare": await client.infer(address, {"instances": bare}, model_name=model),
            "explain": await client.explain(address, model, {"instances": named, "outputs": "all"}),
            "explain bare": await client.explain(address, model, {"instances": bare, "outputs": "all"}),
            "no such model": await refused(client.infer(address, {"instances": named}, model_name="nope")),
            "no such field": await refused(client.explain(address, model, {"instances": [{"colour": 3}]})),
        }


async def refused(asking):
    try:
        await asking
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return None


async def main(address, model, named, bare):
    found = {"v1": await v1(address, model, named, bare), "v2": await v2(address, model, bare)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])))
