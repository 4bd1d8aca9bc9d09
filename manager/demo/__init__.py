"""`make demo`: ten real agents outlive a coordinator that is killed, and the log knows what nobody watched."""
