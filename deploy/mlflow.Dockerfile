# The versions of requirements-scale.lock, so that server and clients have the same release. A test compares them.
FROM python:3.11.14-slim-bookworm
RUN pip install --no-cache-dir mlflow==3.17.2 psycopg2-binary==2.9.13 boto3==1.43.117
USER nobody
WORKDIR /tmp
