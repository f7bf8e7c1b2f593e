"""Container images of bundles, as an OCI image layout: a folder that registries, Kubernetes and balena understand."""
