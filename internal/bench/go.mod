module github.com/semio-iot/semio/internal/bench

go 1.26.0

require (
	github.com/flynn/noise v1.1.0
	github.com/semio-iot/semio v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/semio-iot/semio => ../..
