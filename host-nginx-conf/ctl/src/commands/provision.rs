//! `provision`: a certificate whose key KMS opens for the service, from a file or from S3.

use enclave_wire::control::{BundleSource, Provision, Reply, Request, S3Object};

use super::{CommandError, Session, file_error, warn_unrecorded};
use crate::show::KeyJson;
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::files;
use enclave_tls_admin::protocol::Record;

use crate::args;

pub(super) fn provision(session: &Session, options: args::Provision) -> Result<(), CommandError> {
    let source = source(&options)?;
    let request = Request::Provision(Provision {
        name: options.name,
        usage: options.attributes.usage,
        dns_names: (options.attributes.dns_names.try_into()).map_err(|_| CommandError::TooMany)?,
        clients: (options.attributes.clients.try_into()).map_err(|_| CommandError::TooMany)?,
        sealed: options.attributes.sealed,
        kms_key: options.kms_key,
        source,
    });
    let (Reply::Provisioned(key), record) = session.client.ask(request)? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    let json = KeyJson {
        kept: Some(record == Record::Done || key.sealed.is_some()),
        ..KeyJson::from(&key)
    };
    session.show(|| format!("{}\n", key.id), &json)
}

fn source(options: &args::Provision) -> Result<BundleSource, CommandError> {
    match (&options.bundle, &options.s3, &options.region) {
        (Some(path), None, None) => {
            let json = files::read(path, MAX_BUNDLE).map_err(file_error(path))?;
            let document = json.to_vec().try_into().map_err(|_| ClientError::Unexpected)?;
            Ok(BundleSource::Document(document))
        }
        (None, Some(place), Some(region)) => Ok(BundleSource::S3(S3Object {
            region: region.clone(),
            bucket: place.bucket.clone(),
            key: place.key.clone(),
        })),
        // The command line has exactly one of the two.
        _ => Err(ClientError::Unexpected.into()),
    }
}

/// What the protocol carries.
const MAX_BUNDLE: usize = 65_536;
