//! Threat 43: no byte of a data key decides anything here, while states are sealed and data keys are wrapped.

use super::*;

#[test]
fn threat_43_no_byte_of_a_data_key_decides_while_a_state_is_sealed() {
    let seen = lab_poison::watch(|| {
        let (mut secret, mut kek) = ([9; 32], [8; 32]);
        lab_poison::poison(&mut secret);
        lab_poison::poison(&mut kek);
        let state = || state("www", vec![generation(1, &key!("p-256"))]);
        let direct = DataKey::new(name("lab"), ARN.parse().unwrap(), vec![7; 184], &secret);
        assert!(state().seal(&direct, &POLICY).is_ok());

        let each = DataKey::under(name("lab"), &secret, ARN.parse().unwrap(), &kek, vec![7; 184]).unwrap();
        let mut blob = state().seal(&each, &POLICY).unwrap();
        lab_poison::reveal(&mut blob);
        let envelope = Envelope::parse(&blob).unwrap();
        assert!(DataKey::of(envelope.header(), &ARN.parse().unwrap(), &kek).is_ok());
    });
    seen.unwrap().at_most(1); // whether the wrap is authentic
}
