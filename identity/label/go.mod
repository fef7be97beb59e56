module github.com/semio-iot/semio/identity/label

go 1.26.0

require (
	github.com/semio-iot/semio v0.0.0
	github.com/stretchr/testify v1.12.1
	rsc.io/qr v0.2.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
)

replace github.com/semio-iot/semio => ../..
