# rogo_async with FreeTDS and Microsoft's ODBC driver, run by an ordinary user.
# Built and run with Buildah on a minimal image of Debian 12; not yet with a Docker engine.
#
#   docker build -t rogo-async .
#   docker run --rm --env-file .env --volume /srv/rogo:/srv/rogo rogo-async check
#
# The data directory is /srv/rogo, a volume that user 10001 can write. The extra mssql contains
# Microsoft's driver under Microsoft's licence; remove it if FreeTDS is enough. For distributed runs
# add Dask: docker build --build-arg EXTRAS=mssql,distributed -t rogo-async .
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates libcurl4 libgssapi-krb5-2 python3 python3-venv tdsodbc tini unixodbc \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /srv/rogo --create-home rogo

ARG EXTRAS=mssql
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY docs/codes.md /src/docs/
COPY rogo_async /src/rogo_async
RUN python3 -m venv /opt/rogo_async \
    && /opt/rogo_async/bin/pip install --no-cache-dir --constraint /src/constraints.txt "/src[$EXTRAS]" \
    && rm -rf /src

USER rogo
WORKDIR /srv/rogo
ENV PYTHONUNBUFFERED=1
# tini forwards SIGTERM, so `docker stop --time 90` lets a run finish its work in progress.
ENTRYPOINT ["tini", "--", "/opt/rogo_async/bin/python", "-m", "rogo_async"]
