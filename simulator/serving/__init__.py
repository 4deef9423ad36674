"""What a model costs a request: prefill, decoding, cache, engines, queues."""
