-- Version 2: identities over the years. Times are nanoseconds since the Unix epoch.

