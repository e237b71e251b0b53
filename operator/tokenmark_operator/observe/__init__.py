"""Facts -> what they mean. Pure: Jobs, Pods, logs in; states and conditions out."""
