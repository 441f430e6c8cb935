-- Run once, when the volume is empty; POSTGRES_DB makes the other database, prefect.
CREATE DATABASE mlflow;
