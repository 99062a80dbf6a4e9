// Package connectorpb is the plugin protocol of connectors, generated from
// connector.proto. Authors use plugins/serve instead.
//
// To generate again: Debian's protobuf-compiler 3.21.12 (protoc), and
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//
// on the PATH, then go generate ./plugins/connectorpb/...
package connectorpb

//go:generate protoc --proto_path=. --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative connector.proto
