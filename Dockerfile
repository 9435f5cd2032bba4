# docker build -t rdl .    docker run --rm -v "$PWD:/data" -w /data rdl demo
FROM python:3.11-slim
WORKDIR /opt/rdl
COPY . .
RUN pip install .
ENTRYPOINT ["rdl"]
