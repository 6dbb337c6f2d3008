module tandem.example/demo-cluster/pause

go 1.24.0
