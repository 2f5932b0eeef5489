"""Types that API and workers share: specs, manifests, states, events, reports. Standard library and pydantic only."""
