"""MEASURE: probes read power, a sampler records it, a trace turns it into energy."""
