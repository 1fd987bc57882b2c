# The versions of requirements-scale.lock (a test compares them): server and clients are of one release.
FROM python:3.11.14-slim-bookworm
RUN pip install --no-cache-dir mlflow==3.17.2 psycopg2-binary==2.9.13 boto3==1.43.117
USER nobody
WORKDIR /tmp
