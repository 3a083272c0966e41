//! Stock tonic without tuning: a message in, a message out, and nothing in between.
//! usage: hello_grpc ADDRESS

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    message: String,
}

#[derive(Clone)]
struct Greeter;

impl NamedService for Greeter {
    const NAME: &'static str = "hello.Greeter";
}

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Answer, Question>::default());
            Ok(grpc.unary(Greet, request).await)
        })
    }
}

struct Greet;

impl UnaryService<Question> for Greet {
    type Response = Answer;
    type Future = Ready<Result<tonic::Response<Answer>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Question>) -> Self::Future {
        let message = format!("hello {}", request.get_ref().name);
        ready(Ok(tonic::Response::new(Answer { message })))
    }
}

fn main() {
    let address = std::env::args().nth(1).expect("usage: hello_grpc ADDRESS");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(
            tonic::transport::Server::builder()
                .add_service(Greeter)
                .serve(address.parse().expect("an address")),
        )
        .expect("serving");
}
