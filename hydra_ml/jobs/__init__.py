"""What runs again and again once the service is live; one module per job, without Prefect, which `flows/` adds."""
