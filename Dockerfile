# The runner in a container: `docker build -t gpu-job-runner .`, or by docker-compose.yml.
# It runs as a user of its own, and writes into RUNNER_HOME and /tmp only: all else may be read-only.

FROM python:3.13.15-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements-build.lock \
 && python -m venv /opt/runner && /opt/runner/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY jobs jobs
COPY workers workers
COPY runner runner
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/runner/bin/pip install --no-deps --no-index /dist/*.whl

FROM python:3.13.15-slim-bookworm
# The folder is there, and owned, before a volume takes its place: a new volume is given what it was.
RUN groupadd --gid 10001 runner \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/gpu-job-runner \
    --shell /usr/sbin/nologin runner \
 && install -d -o runner -g runner -m 0700 /var/lib/gpu-job-runner
COPY --from=build /opt/runner /opt/runner
ENV PATH=/opt/runner/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    RUNNER_HOME=/var/lib/gpu-job-runner
USER 10001:10001
VOLUME /var/lib/gpu-job-runner
STOPSIGNAL SIGTERM
ENTRYPOINT ["runner"]
CMD ["--help"]
