# taskmaster with its command. The image holds no jobs of yours: mount a directory with
# taskmaster.toml and your modules at /app, or build on top of it. See docker-compose.yml.
FROM python:3.13.5-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY taskmaster taskmaster
COPY middleware middleware
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[json-schema,tracing]'

FROM python:3.13.5-slim-bookworm
RUN useradd --create-home taskmaster
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER taskmaster
WORKDIR /app
EXPOSE 9464
# The command is PID 1 here: it passes signals on to the supervisor, and reaps as PID 1 must.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/readyz', timeout=2)"]
CMD ["taskmaster", "run"]
