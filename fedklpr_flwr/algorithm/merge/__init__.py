"""The mask-aware merge of many models: what a client gives, how it is added up, and how divided."""
