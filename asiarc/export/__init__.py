"""Export: a candidate that was trained as a model folder that Hugging Face's tools load without asiarc."""
