//! The endpoint that Prometheus asks.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use chronicle_bus::BusLayout;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::exposition;
use crate::args::MetricsArguments;
use crate::counters;
use crate::failure::Failure;
use crate::output;

/// What the text is: <https://prometheus.io/docs/specs/om/open_metrics_spec/#protocol-negotiation>.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
/// So long a client may take to ask.
const ASKING: Duration = Duration::from_secs(5);
/// So long a client may take for all of it.
const SERVING: Duration = Duration::from_secs(30);
/// So many may be served at a time; others wait.
const CLIENTS: usize = 64;
/// So long those that are being served have to come to an end once the program is to.
const GRACE: Duration = Duration::from_secs(2);
/// After an error of the listener, such as no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(arguments: &MetricsArguments) -> Result<(), Failure> {
    let layout = counters::layout(&arguments.bus)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("cannot begin: {error}")))?;
    LocalSet::new().block_on(&runtime, serve(arguments, layout))
}

async fn serve(arguments: &MetricsArguments, layout: BusLayout) -> Result<(), Failure> {
    let internal = |error| Failure::Internal(format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let refused = |error| Failure::input(arguments.listen, format!("cannot listen: {error}"));
    let listener = TcpListener::bind(arguments.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    output::print(&format!(
        "metrics of {} at http://{address}/metrics\n",
        layout.root().display()
    ))?;

    let layout = Rc::new(layout);
    let mut clients = JoinSet::new();
    while let Some(accepted) = accept(&listener, &mut interrupt, &mut terminate).await {
        match accepted {
            Ok((stream, _)) => {
                clients.spawn_local(serve_one(stream, Rc::clone(&layout)));
            }
            Err(_) => sleep(PAUSE).await,
        }
        while clients.try_join_next().is_some() {}
        if clients.len() >= CLIENTS {
            clients.join_next().await;
        }
    }
    let _ = timeout(GRACE, async { while clients.join_next().await.is_some() {} }).await;
    Ok(())
}

/// The next client; `None` once the program is told to end.
async fn accept(
    listener: &TcpListener,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> Option<std::io::Result<(TcpStream, std::net::SocketAddr)>> {
    tokio::select! {
        accepted = listener.accept() => Some(accepted),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    }
}

/// Serves one request of a client. One that says nothing, or does not take what it is told, is left after
/// a while; the others are served meanwhile.
async fn serve_one(stream: TcpStream, layout: Rc<BusLayout>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &layout);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // What goes wrong with one client is that client's affair.
    let _ = timeout(SERVING, connection).await;
}

fn answer(request: &Request<Incoming>, layout: &BusLayout) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match exposition(layout) {
            Ok(text) => response(StatusCode::OK, OPEN_METRICS, text),
            Err(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, why + "\n"),
        },
        "/" => plain(StatusCode::OK, "Metrics of a Chronicle bus are at /metrics\n".to_owned()),
        _ => plain(StatusCode::NOT_FOUND, "There is /metrics and nothing else\n".to_owned()),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    response(status, PLAIN, text)
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
