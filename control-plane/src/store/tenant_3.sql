-- Version 3: gateways over the years. Times are nanoseconds since the Unix epoch.

