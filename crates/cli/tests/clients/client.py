"""What a client made with the official Python SDK sees: python client.py MODE (stdio COMMAND… | http URL TOKEN).

MODE is "legacy", for revisions of the protocol with a handshake, or "auto". The client validates every result against the
schema that its tool was listed with. Prints one JSON document.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def transport(kind, rest):
    if kind == "stdio":
        return StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ))
    url, token = rest
    return streamable_http_client(url, http_client=httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60))


async def session(client):
    tools = (await client.list_tools()).tools
    phases = []

    async def progress(_value, _total, message):
        phases.append(message)

    async def call(tool, **arguments):
        result = await client.call_tool(tool, arguments, progress_callback=progress)
        if result.is_error:
            return {"error": result.content[0].text}
        return result.structured_content

    created = await call("workspace_create", environment="debian:12")
    workspace = created["workspace_id"]
    seen = {
        "protocol": client.protocol_version,
        "tools": sorted(tool.name for tool in tools),
        "stdout": (await call("workspace_exec", workspace_id=workspace, command="echo from python"))["stdout"],
        "written": await call("workspace_file_write", workspace_id=workspace, path="a", text="b\n"),
        "read": (await call("workspace_file_read", workspace_id=workspace, path="a"))["content"],
        "listed": (await call("workspace_file_list", workspace_id=workspace))["count"],
        "patch": (await call("workspace_diff", workspace_id=workspace))["patch"],
        "commands": (await call("workspace_summary", workspace_id=workspace))["commands"]["total"],
        "journal": (await call("workspace_logs", workspace_id=workspace))["count"],
        "workspaces": (await call("workspace_list"))["count"],
        "resets": (await call("workspace_reset", workspace_id=workspace))["reset_count"],
        "state": (await call("workspace_status", workspace_id=workspace))["state"],
        "failure": await call("workspace_exec", workspace_id=workspace, comand="ls"),
        "resources": [str(one.uri) for one in (await client.list_resources()).resources],
        "prompts": [one.name for one in (await client.list_prompts()).prompts],
        "deleted": (await call("workspace_delete", workspace_id=workspace))["deleted"],
        "phases": phases,
    }
    json.dump(seen, sys.stdout)


async def main(mode, kind, *rest):
    async with Client(transport(kind, rest), mode=mode) as client:
        await session(client)


asyncio.run(main(*sys.argv[1:]))
