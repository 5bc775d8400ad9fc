"""Chat models behind one seam: OpenAI-compatible servers, exo, Ollama, the embedded model."""
