"""The Jupyter server extension: owns the service, and shows it to the browser."""
