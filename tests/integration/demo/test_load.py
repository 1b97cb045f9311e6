"""Loading a generated data set: the servers contain exactly what was generated."""

from collections import Counter

import aiohttp
import asyncpg
import pytest
from yarl import URL

from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.blob_container import Container
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Status
from tests.support.expected_run import ROWS, LoadedDataset


@pytest.fixture
async def loaded(stack: Stack, workspace: Workspace) -> LoadedDataset:
    dataset = generate_for(stack, workspace, ROWS, seed=7)
    await load(dataset, stack, workspace)
    return LoadedDataset(dataset, stack, workspace)


async def test_the_servers_contain_the_data_set(loaded: LoadedDataset) -> None:
    stack, workspace, dataset = loaded.stack, loaded.workspace, loaded.dataset
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.warehouse))
    try:
        reports = await connection.fetchval('SELECT count(*) FROM "dbo"."Rogo_AssessmentReport"')
        scores = await connection.fetchval(
            'SELECT count(*) FROM "dbo"."Rogo_AssessmentReportScores"'
        )
    finally:
        await connection.close()
    assert reports == len(list(dataset.reports())) > ROWS // 2
    assert scores == len(list(dataset.scores())) > ROWS // 2
    async with aiohttp.ClientSession() as session:
        listing = await Container(stack.azurite, workspace.source_container, session).listing()
    blobs = list(dataset.blobs())
    assert len(listing) == len(blobs) > ROWS // 2
    assert sum(blob.size_bytes for blob in listing.values()) == sum(b.size_bytes for b in blobs)


async def test_every_file_is_at_the_url_of_its_row(loaded: LoadedDataset) -> None:
    """Also names with commas, spaces, signs and Unicode. Without a SAS access is denied."""
    sas = loaded.stack.source_sas(loaded.workspace)
    denied = Counter[int]()
    async with aiohttp.ClientSession() as session:
        for case in loaded.dataset.cases:
            if case.status is not Status.MIGRATED:
                continue
            for file in case.files:
                stored = file.url.startswith(loaded.dataset.azure_base)
                url = URL(f"{file.url}?{sas}" if stored else file.url, encoded=True)
                async with session.get(url) as response:
                    assert await response.read() == file.content.body()
                if stored:
                    async with session.get(URL(file.url, encoded=True)) as response:
                        denied[response.status] += 1
    assert set(denied) <= {403, 404, 409}
    assert denied.total() > ROWS // 2


async def test_few_rows_are_forbidden_and_every_status_occurs(
    stack: Stack, workspace: Workspace
) -> None:
    dataset = generate_for(stack, workspace, 2_000, seed=7)
    scripted = Counter(route.status for route in dataset.routes)
    assert scripted[401] + scripted[403] <= 4
    assert {200, 302, 401, 403, 404, 410} <= set(scripted)


async def test_the_reported_md5_is_wrong_only_for_rows_that_must_fail(
    stack: Stack, workspace: Workspace
) -> None:
    dataset = generate_for(stack, workspace, 150, seed=7)
    await load(dataset, stack, workspace)
    async with aiohttp.ClientSession() as session:
        listing = await Container(stack.azurite, workspace.source_container, session).listing()
    reported = {blob.md5 for blob in listing.values()}
    wrong = [blob for blob in dataset.blobs() if blob.md5_is_wrong]
    assert len(wrong) == sum(blob.md5 == b"not this digest!" for blob in listing.values()) > 0
    assert all(blob.md5() in reported for blob in dataset.blobs() if not blob.md5_is_wrong)
