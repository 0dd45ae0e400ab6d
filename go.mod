module github.com/edgebake/edgebake

go 1.26
