module tokenmark.dev/cluster/pause

go 1.24
