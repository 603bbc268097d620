# One file, every image: `docker build --target api|worker|export|redis .`
# What each may hold is decided by pyproject.toml's extras; models are exported here, during the build.
#
#   PYTHON_IMAGE      the base; give it a digest to pin it: python:3.11-slim-bookworm@sha256:…
#   REDIS_IMAGE       the same for the queue
#   EXTRA_INDEX_URL   one more package index, for a CPU build of torch: https://download.pytorch.org/whl/cpu
#   TORCH_INDEX_URL   the index of the worker's torch, for a CUDA build: https://download.pytorch.org/whl/cu128
#   EXTRAS            more of pyproject.toml's extras in API and worker: otel, for traces; onnx, for ONNX models; record, for the decision record
#   REVISION          what the label org.opencontainers.image.revision says
#
# The classic builder makes every stage above the one it is asked for; so they stand in the order of their need.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG REDIS_IMAGE=redis:7-bookworm
ARG VERSION=0.1.0

# Redis with one user for the queue, its data in a folder that this user owns.
FROM ${REDIS_IMAGE} AS redis
RUN mkdir /queue && chown redis:redis /queue
COPY docker/redis.sh docker/redis.acl /usr/local/lib/queue/
# Its number is the base image's to choose.
# hadolint ignore=DL3066
USER redis
VOLUME /queue
EXPOSE 6379
HEALTHCHECK --interval=2s --timeout=5s --start-period=10s --retries=5 \
  CMD ["sh", "/usr/local/lib/queue/redis.sh", "check"]
ENTRYPOINT ["sh", "/usr/local/lib/queue/redis.sh"]
ARG VERSION
ARG REVISION=
LABEL org.opencontainers.image.title="whyserve-redis" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="The queue of explanations." \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/whyserve/bin:$PATH PYTHONPATH=/srv/whyserve/app WHYSERVE_STATE=/tmp/whyserve
WORKDIR /srv/whyserve
RUN groupadd --gid 10001 whyserve \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin whyserve

# The environments, each from pyproject.toml and constraints.txt alone: a change in app/ installs nothing again.
FROM base AS install
ARG EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_EXTRA_INDEX_URL=${EXTRA_INDEX_URL}
RUN python -m venv /opt/whyserve
WORKDIR /tmp/build
COPY constraints.txt docker/requirements.py docker/slim.sh ./

# torch first and by its exact version: without it the others would bring a build with gigabytes of CUDA.
FROM install AS install-torch
RUN pip install -c constraints.txt torch==2.13.0

FROM install AS install-api
ARG EXTRAS=
COPY pyproject.toml ./
RUN python requirements.py "api,${EXTRAS}" > requirements.txt && pip install -c constraints.txt -r requirements.txt && sh slim.sh

FROM install-torch AS export
ARG EXTRAS=
COPY pyproject.toml ./
RUN python requirements.py "export,${EXTRAS}" > requirements.txt && pip install --no-compile -c constraints.txt -r requirements.txt
WORKDIR /srv/whyserve
COPY app app
COPY models models
# Files may have come without read permission for others.
RUN chmod -R a+rX . && python -m compileall -q app && mkdir artifacts && chown whyserve:whyserve artifacts
USER 10001:10001
RUN ["python", "-m", "whyserve.cli", "export"]
ENTRYPOINT ["python", "-m", "whyserve.cli", "export"]
ARG VERSION
ARG REVISION=
LABEL org.opencontainers.image.title="whyserve-export" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Makes ONNX files and manifests of model folders." \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# The API answers from the ONNX files; of what these were made of it needs the tokenizers alone, which are JSON.
FROM export AS served
RUN find artifacts/.builds/*/original -type f \( ! -name '*.json' -o -name example.json \) -delete

FROM base AS api
ARG VERSION
COPY --from=install-api /opt/whyserve /opt/whyserve
COPY --from=served /srv/whyserve/artifacts artifacts
COPY --from=served /srv/whyserve/app app
ENV WHYSERVE_HOST=0.0.0.0 WHYSERVE_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=3 \
  CMD ["python", "-m", "whyserve.processes.healthcheck", "api"]
ENTRYPOINT ["python", "-m", "whyserve.cli", "api"]
ARG REVISION=
LABEL org.opencontainers.image.title="whyserve-api" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Predictions and explanations over REST." \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM install-torch AS install-worker
ARG EXTRAS=
ARG TORCH_INDEX_URL=
RUN [ -z "${TORCH_INDEX_URL}" ] || pip install -c constraints.txt --force-reinstall --index-url "${TORCH_INDEX_URL}" torch==2.13.0
COPY pyproject.toml ./
RUN python requirements.py "worker,${EXTRAS}" > requirements.txt && pip install -c constraints.txt -r requirements.txt && sh slim.sh

# The worker explains on the originals, which lie beside their manifests, and needs no ONNX files.
FROM export AS originals
RUN rm artifacts/.builds/*/model.onnx

FROM base AS worker
COPY --from=install-worker /opt/whyserve /opt/whyserve
COPY --from=originals /srv/whyserve/artifacts artifacts
COPY --from=originals /srv/whyserve/app app
ENV WHYSERVE_HEALTH_FILE=/tmp/worker.alive
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=10s --start-period=90s --retries=3 \
  CMD ["python", "-m", "whyserve.processes.healthcheck", "worker"]
ENTRYPOINT ["python", "-m", "whyserve.cli", "worker"]
ARG VERSION
ARG REVISION=
LABEL org.opencontainers.image.title="whyserve-worker" org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="SHAP values on the original networks." \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
